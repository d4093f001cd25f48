package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The columns of the table, in the order of seccomp's archID.
const (
	amd64 = iota
	x32
	i386
	arm64
	arm
	columns
)

type row [columns]int

type table map[string]row

// readCalls reads the numbers from the source of golang.org/x/sys/unix and adds
// what that does not have: x32, which is amd64 with exceptions, and the private
// calls of arm.
func readCalls(dir string) (table, error) {
	t := make(table)
	for column, file := range map[int]string{amd64: "amd64", i386: "386", arm64: "arm64", arm: "arm"} {
		src, err := os.ReadFile(filepath.Join(dir, "zsysnum_linux_"+file+".go"))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(src)) {
			f := strings.Fields(line)
			if len(f) != 3 || !strings.HasPrefix(f[0], "SYS_") || f[1] != "=" {
				continue
			}
			n, err := strconv.Atoi(f[2])
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, f[0], err)
			}
			t.set(strings.ToLower(strings.TrimPrefix(f[0], "SYS_")), column, n)
		}
	}
	delete(t, "arch_specific_syscall") // neither is a call
	delete(t, "syscall_mask")
	for i, name := range []string{"breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls"} {
		t.set(name, arm, 0xf0001+i)
	}
	t.set("sync_file_range2", arm, t["arm_sync_file_range"][arm])
	t.addX32()
	if len(t) < 400 || len(t) > 1000 {
		return nil, fmt.Errorf("%d system calls in %s: has its form changed?", len(t), dir)
	}
	return t, nil
}

func (t table) set(name string, column, n int) {
	r, ok := t[name]
	if !ok {
		for i := range r {
			r[i] = -1
		}
	}
	r[column] = n
	t[name] = r
}

// addX32 fills the column of x32. The kernel closed this list long ago: calls
// whose structures differ have numbers from 512 on, some old calls never came,
// all others are those of amd64.
func (t table) addX32() {
	own := strings.Fields(`rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve
		ptrace rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify
		kexec_load waitid set_robust_list get_robust_list vmsplice move_pages preadv pwritev
		rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt getsockopt
		io_setup io_submit execveat preadv2 pwritev2`)
	never := strings.Fields(`uselib _sysctl create_module get_kernel_syms query_module nfsservctl
		set_thread_area get_thread_area epoll_ctl_old epoll_wait_old vserver uretprobe uprobe
		map_shadow_stack`)
	for name, r := range t {
		if r[amd64] >= 0 && !slices.Contains(own, name) && !slices.Contains(never, name) {
			t.set(name, x32, r[amd64])
		}
	}
	for i, name := range own {
		t.set(name, x32, 512+i)
	}
}

func (t table) names() []string {
	var names []string
	for n := range t {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func callsFile(t table) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString("// calls are all system calls by name, with their numbers on amd64, x32, i386,\n// arm64 and arm.\n")
	b.WriteString("var calls = [...]call{\n")
	for _, name := range t.names() {
		r := t[name]
		fmt.Fprintf(&b, "\t{%q, [archCount]int32{%d, %d, %d, %d, %d}},\n", name, r[amd64], r[x32], r[i386], r[arm64], r[arm])
	}
	b.WriteString("}\n")
	return format.Source(b.Bytes())
}

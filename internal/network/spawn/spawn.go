// Package spawn starts the holder of networks, out of a command or out of the
// shim that is the first to notice that a holder has died. So how it is started
// is a program of nsinit, made by the command and kept by the shim.
package spawn

import (
	"os"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Registers of the program, beside RegUserNS.
const (
	regFiles = nsinit.RegFree     // the first of the descriptors to pass
	regLast  = nsinit.RegFree + 3 // two less than the highest number of those
)

const (
	maxFiles = 3
	high     = 100 // above all places of the files
)

// Program makes the program that starts a holder from its path. Account says that
// it is in the user namespace in RegUserNS, as its root; files is how many
// descriptors it gets, from 3 on.
func Program(path string, argv, env []string, account bool, files int) *nsinit.Program {
	var ops []nsinit.Op
	add := func(call, what string, args ...nsinit.Arg) *nsinit.Op {
		ops = append(ops, nsinit.Op{Call: call, Args: args, What: what})
		return &ops[len(ops)-1]
	}
	zero := nsinit.Int(0)
	if account {
		add("setns", "enter the user namespace of the networks", nsinit.Ref(nsinit.RegUserNS), nsinit.Flags(unix.CLONE_NEWUSER))
		add("setresgid", "become root of the user namespace", zero, zero, zero)
		add("setresuid", "become root of the user namespace", zero, zero, zero)
	}
	add("setsid", "start a session")
	add("chdir", "leave the folder", nsinit.Str("/"))
	// The status socket goes out of the way, and comes back behind the files.
	add(nsinit.CallClose, "close descriptors", nsinit.Ref(regLast))
	const null = nsinit.RegFree + 4
	add("openat", "open /dev/null", nsinit.Int(unix.AT_FDCWD), nsinit.Str(os.DevNull), nsinit.Int(unix.O_RDWR), zero).Out = null
	for i := range 3 {
		// It may be the very one: closed streams are the lowest numbers.
		op := add("dup3", "set up standard streams", nsinit.Ref(null), nsinit.Int(i), zero)
		op.Allow = []int{int(unix.EINVAL)}
	}
	for i := range files {
		add("dup3", "pass descriptors", nsinit.Ref(regFiles+nsinit.Reg(i)), nsinit.Int(3+i), zero)
	}
	add(nsinit.CallClose, "close descriptors", nsinit.Int(files))
	add("execve", "run "+path, nsinit.Str(path), nsinit.Vec(argv), nsinit.Vec(env))
	return &nsinit.Program{Ops: ops}
}

// Start runs the program. The process is the caller's to reap, and outlives it.
func Start(p *nsinit.Program, user *os.File, files ...*os.File) (pid int, err error) {
	regs := map[nsinit.Reg]int{}
	if user != nil {
		regs[nsinit.RegUserNS] = int(user.Fd())
	}
	least := high
	for i, f := range files[:min(len(files), maxFiles)] {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, least)
		if err != nil {
			return 0, os.NewSyscallError("fcntl", err)
		}
		defer unix.Close(fd)
		regs[regFiles+nsinit.Reg(i)], regs[regLast], least = fd, fd-2, fd+1
	}
	// The child shares our memory until it executes, and with it whether
	// /proc/self is ours.
	before, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	child, err := nsinit.Spawn(p, regs)
	if before == 1 {
		unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
	if err != nil {
		return 0, err
	}
	return child.Pid, nil
}

package runtime

import (
	"fmt"
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// builder appends operations to a program and hands out registers.
type builder struct {
	ops  []nsinit.Op
	next nsinit.Reg
	err  error
}

func newBuilder() *builder { return &builder{next: nsinit.RegFree} }

func (b *builder) reg() nsinit.Reg {
	r := b.next
	if r >= nsinit.MaxRegs {
		b.fail("too many mounts")
		return nsinit.RegFree
	}
	b.next++
	return r
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// do appends an operation that must succeed; what completes "cannot …".
func (b *builder) do(what, call string, args ...nsinit.Arg) *nsinit.Op {
	b.ops = append(b.ops, nsinit.Op{Call: call, Args: args, What: what})
	return &b.ops[len(b.ops)-1]
}

// get is do with a result.
func (b *builder) get(what, call string, args ...nsinit.Arg) nsinit.Reg {
	r := b.reg()
	b.do(what, call, args...).Out = r
	return r
}

// try is do that goes on after any error.
func (b *builder) try(call string, args ...nsinit.Arg) {
	b.do("", call, args...).Allow = []int{nsinit.AnyError}
}

// allow makes the last operation tolerate errors and skip n operations after
// them.
func (b *builder) allow(n int, errnos ...unix.Errno) {
	op := &b.ops[len(b.ops)-1]
	op.Skip = n
	for _, e := range errnos {
		op.Allow = append(op.Allow, int(e))
	}
}

var (
	cwd  = nsinit.Int(unix.AT_FDCWD)
	zero = nsinit.Int(0)
	none = nsinit.Str("")
)

// structBytes copies a kernel structure to a program argument.
func structBytes[T any](v T) nsinit.Arg {
	return nsinit.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v)))
}

// openHow is struct open_how of openat2(2).
func openHow(flags int, resolve uint64) []nsinit.Arg {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	return []nsinit.Arg{structBytes(how), nsinit.Int(int(unsafe.Sizeof(how)))}
}

// openExact opens a path without following any symbolic link.
func (b *builder) openExact(p string, flags int) nsinit.Reg {
	args := append([]nsinit.Arg{cwd, nsinit.Str(p)}, openHow(unix.O_PATH|flags, unix.RESOLVE_NO_SYMLINKS)...)
	return b.get("use "+p+" of the image (it must not be a symbolic link)", "openat2", args...)
}

// writeFile writes data to a file that exists. at is a directory register or
// cwd.
func (b *builder) writeFile(what string, at nsinit.Arg, p, data string) {
	fd := b.get(what, "openat", at, nsinit.Str(p), nsinit.Int(unix.O_WRONLY|unix.O_CLOEXEC), zero)
	b.do(what, "write", nsinit.Ref(fd), nsinit.Bytes([]byte(data)), nsinit.Int(len(data)))
	b.do(what, "close", nsinit.Ref(fd))
	b.next-- // the register is free again
}

// mkdirs makes the folders of an absolute path one by one. What exists, or
// cannot be made, is left to the mount that follows to complain about.
func (b *builder) mkdirs(p string, mode int) {
	for i, c := range p {
		if c == '/' && i > 0 {
			b.mkdir(p[:i], mode)
		}
	}
	if p != "/" {
		b.mkdir(p, mode)
	}
}

func (b *builder) mkdir(p string, mode int) {
	b.do("make "+p, "mkdirat", cwd, nsinit.Str(p), nsinit.Int(mode))
	b.allow(0, unix.EEXIST, unix.EROFS, unix.EACCES, unix.ENOTDIR)
}

// touch makes an empty file to mount on.
func (b *builder) touch(p string) {
	b.mkdirs(path.Dir(p), 0o755)
	b.mknod(p)
	b.allow(0, unix.EEXIST, unix.EROFS, unix.EACCES, unix.ENOTDIR, unix.ENOENT)
}

func (b *builder) mknod(p string) {
	b.do("make "+p, "mknodat", cwd, nsinit.Str(p), nsinit.Int(unix.S_IFREG|0o644), zero)
}

// attach puts a detached mount onto a path, following the image's own links
// (they cannot lead out of it). A dangling link in the place of a file is
// replaced by an empty file.
func (b *builder) attach(mnt nsinit.Reg, p string, isDir bool) {
	move := func() {
		b.do("mount "+p, "move_mount", nsinit.Ref(mnt), none, cwd, nsinit.Str(p),
			nsinit.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS))
	}
	move()
	if !isDir {
		b.allow(0, unix.ENOENT)
		b.ops[len(b.ops)-1].Then = 3
		b.do("replace the link "+p, "unlinkat", cwd, nsinit.Str(p), zero)
		b.mknod(p)
		move()
	}
	b.closeReg(mnt)
}

// attachExact puts a detached mount onto a path that holds no symbolic link.
func (b *builder) attachExact(mnt nsinit.Reg, p string) {
	at := b.openExact(p, 0)
	b.do("mount "+p, "move_mount", nsinit.Ref(mnt), none, nsinit.Ref(at), none,
		nsinit.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
	b.closeReg(at)
	b.closeReg(mnt)
}

func (b *builder) closeReg(r nsinit.Reg) { b.try("close", nsinit.Ref(r)) }

// below reports whether path p is dir or lies in it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

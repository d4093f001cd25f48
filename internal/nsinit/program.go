package nsinit

import "golang.org/x/sys/unix"

// Program is a list of operations and the namespaces their process starts in.
type Program struct {
	// Flags are the CLONE_NEW* flags of the clone that makes the process.
	Flags uint64
	Ops   []Op
}

// Op is one operation: a system call by name, or one of the pseudo calls
// below. The result of a successful call goes to register Out.
type Op struct {
	Call string
	Args []Arg
	Out  Reg
	// Allow lists errors (errno numbers) after which the program goes on,
	// leaving out the next Skip operations. AnyError allows all.
	Allow []int
	Skip  int
	// Then is how many operations to leave out after success.
	Then int
	// What completes the sentence "cannot …" when the operation fails.
	What string
}

// Pseudo calls.
const (
	// CallClone forks once more with Args[0] as CLONE_NEW* flags. The new
	// process is a child of the shim (CLONE_PARENT) and goes on; the old
	// one reports it and ends. Joining a pid namespace needs this, because
	// setns(2) moves only children there.
	CallClone = "clone"
	// CallInit forks; the parent becomes an init that reaps orphans and
	// forwards signals, the child goes on.
	CallInit = "init"
	// CallSend passes the descriptor in register Args[0] to the shim.
	CallSend = "send"
	// CallClose closes every descriptor but 0, 1, 2, the Args[0] that follow
	// (none without it), and those that execve closes: the status socket,
	// moved next, and after it what is in RegListen and RegTrampoline, if
	// anything is.
	CallClose = "close-all"
	// CallPause tells the maker of the process that stage Args[0] is
	// reached, and waits for its word to go on.
	CallPause = "pause"
	// CallWait tells the maker that all is ready, waits for the first
	// connection to the socket in RegListen, and puts it in the place of the
	// status socket: whoever starts the process hears of what follows.
	CallWait = "wait"
	// CallTrampoline executes a program by way of a trampoline (see
	// trampoline.go): Args[0] is its argument vector behind two more strings,
	// one whose first byte is the number of the status socket, and the path;
	// Args[1] is the environment.
	CallTrampoline = "trampoline"
	// CallInside fails when the working directory is outside of the root
	// file system. Args[0] are at least PATH_MAX bytes to work with.
	CallInside = "inside"
	// CallAlive fails when the shim is gone. It follows a parent-death
	// signal, which does not tell of a parent that is dead already, and
	// CallClose, since our copy of the shim's end would feign life.
	CallAlive = "alive"
	// CallLend sends the descriptor in register Args[0] over the socket in
	// Args[1], with a message: Args[2], of Args[3] bytes.
	CallLend = "lend"
	// CallHear waits for a message at the socket in register Args[0] and takes
	// it, if it is Args[1], of Args[2] bytes. Another message stays, for whoever
	// has made the process to read, and the program fails with EREMOTEIO. Args[3]
	// is memory for one byte more.
	CallHear = "hear"
	// CallFail ends the program with errno Args[0].
	CallFail = "fail"
)

// AnyError in Op.Allow allows every error.
const AnyError = -1

// Reg names a register: a cell that holds a result, usually a descriptor.
// Register 0 does not exist, so the zero value means "none".
type Reg uint16

// The first registers are set by the shim before the program runs.
const (
	RegStdin Reg = 1 + iota
	RegStdout
	RegStderr
	RegUserNS  // of a running container, for exec; of one that starts, where it was made before
	RegInnerNS // the user namespace inside of that which its programs alone are in, if there is one
	RegMountNS
	RegPidNS
	RegNetNS
	RegIPCNS
	RegUTSNS
	RegCgroupNS
	RegPidfd      // of a process whose namespaces are joined
	RegListen     // a listening socket, for CallWait
	RegTrampoline // the program that CallTrampoline executes
	RegHolderNS   // the user namespace in which a starting container's own is made
	RegLease      // a socket to whoever makes the container's network
	RegFree       // the first that a compiler may use
)

// Namespace is a kind of namespace that a process can join by descriptor.
type Namespace struct {
	Flag uint64 // CLONE_NEW*
	Reg  Reg    // where an exec's program finds it
	File string // below /proc/PID/ns
}

// Namespaces lists all but the user namespace, in the order in which a starting
// container passes its own to the shim, ahead of a terminal.
func Namespaces() []Namespace {
	return []Namespace{
		{unix.CLONE_NEWNS, RegMountNS, "mnt"}, {unix.CLONE_NEWPID, RegPidNS, "pid"},
		{unix.CLONE_NEWNET, RegNetNS, "net"}, {unix.CLONE_NEWIPC, RegIPCNS, "ipc"},
		{unix.CLONE_NEWUTS, RegUTSNS, "uts"}, {unix.CLONE_NEWCGROUP, RegCgroupNS, "cgroup"},
	}
}

// MaxRegs bounds the register file.
const MaxRegs = 1024

// Arg is one argument of an operation.
type Arg struct {
	kind byte // 'n' number, 's' string, 'r' register, 'b' bytes, 'v' vector, 'f' filter
	n    uint64
	s    string
	v    []string
}

// Int is a number.
func Int(n int) Arg { return Arg{kind: 'n', n: uint64(int64(n))} }

// Flags is a number given unsigned.
func Flags(n uint64) Arg { return Arg{kind: 'n', n: n} }

// Str is a C string.
func Str(s string) Arg { return Arg{kind: 's', s: s} }

// Ref is the content of a register.
func Ref(r Reg) Arg { return Arg{kind: 'r', n: uint64(r)} }

// Bytes is the address of a block of memory.
func Bytes(b []byte) Arg { return Arg{kind: 'b', s: string(b)} }

// Vec is a NULL-terminated vector of C strings, as execve(2) takes.
func Vec(v []string) Arg { return Arg{kind: 'v', v: v} }

// Filter is the address of a struct sock_fprog for the given instructions
// (8 bytes each, see seccomp(2)).
func Filter(b []byte) Arg { return Arg{kind: 'f', s: string(b)} }

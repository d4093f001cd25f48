// Package cgroup limits, measures and ends the processes of a container with
// Linux control groups.
//
// A control group is a directory that the kernel fills with files: a process
// joins by having its number written to cgroup.procs, children are born into
// their parent's group, and a limit is a number written to a file such as
// memory.max. There are two generations. In version 2 ("unified") one tree
// under /sys/fs/cgroup carries all controllers; in version 1 every controller
// (memory, pids, cpu…) has a tree of its own; a "hybrid" machine has the old
// trees for the controllers and a bare version 2 tree beside them. Which tree
// holds which controller is decided here for each controller alone, so all
// three are one case.
//
// The work is split between processes. The command calls [Prepare], which
// makes the directories, writes the limits and returns a [Group]: plain data.
// The first process of the container joins [Group.Dirs]; the process beside
// the container calls [Group.OOMKilled] and [Group.Remove] when it is over. So
// that the latter stays small, this package imports nothing but the standard
// library and x/sys.
//
// What cannot be had is said, never skipped: each limit without effect yields
// one warning that names the option and what would make it work. A container
// without limits costs one directory. It goes into the version 2 tree where
// there is one, because that gives the list of processes, a kill without races
// and processor time for the price of one mkdir; a machine with version 1 alone
// uses the freezer's tree for the same.
//
// The library the field shares, opencontainers/cgroups, was measured first: it
// brings D-Bus, logging and random numbers into every process that imports it
// (1.5 MB of program, 1 to 2 ms of start), and joins every tree of version 1
// whether a limit is asked for or not.
package cgroup

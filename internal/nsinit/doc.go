// Package nsinit carries out a [Program]: the flat list of system calls that
// turns a fresh process into a container's first process, or into one more
// process of a running container.
//
// Everything that needs thought happened before, in package runtime, which
// compiles an OCI specification to a Program. Here there is only a loop. It
// runs in a child made by a raw clone(2) of the shim, between clone and
// execve, where a Go program has one thread and no working runtime: no
// allocation, no garbage collection, no stack growth, no locks. So [Spawn]
// lays out every string, structure and vector before it forks, and the child
// only issues raw system calls, as syscall.forkAndExecInChild of the standard
// library does. No second Go program has to start, which saves several
// milliseconds per container.
//
// The child uses the shim's memory and stack until it executes, as vfork(2)
// has it, while the forking thread waits: copying even a small Go program costs
// milliseconds in page faults. Where the kernel wants a copy (see needsCopy) it
// gets one, and so does a process that joins a running container, which could
// stop or attack it. Child and shim are never dumpable while they can be seen from
// inside a container (prctl(2) PR_SET_DUMPABLE), so neither that memory nor the
// executable can be opened through /proc (CVE-2016-9962, CVE-2019-5736).
//
// A Program is data. It travels from the command to the shim in a compact
// form ([Program.AppendBinary]) and is carried out once per start.
package nsinit

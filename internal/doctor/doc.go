// Package doctor finds out what berth can do on a machine, and says of each
// thing that it cannot do what is, what that means, and what to type.
//
// An engine without a daemon and without an administrator stands on what the
// machine happens to allow: namespaces, an overlay file system, a disk that
// holds extended attributes, control groups that were handed down. Each of these
// can be missing in several ways that answer with the same EPERM, so nothing
// here is concluded from version numbers where it can be tried: a process in new
// namespaces mounts what a container's start mounts ([Probe]), system calls are
// made with arguments that they refuse, a file in the data root is given an
// attribute.
//
// [Examine] carries out all checks and changes nothing but a folder of its own
// that it removes. [Report.Repair] then does what the caller may do himself,
// exactly what the lines of the report say. What takes an administrator goes
// into a letter ([Report.Letter]).
//
// Facts about the machine are read below a folder that is / except in tests.
package doctor

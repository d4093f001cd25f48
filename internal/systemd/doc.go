// Package systemd has systemd make a control group: a scope, the kind of unit
// for processes that somebody else starts.
//
// On a machine of systemd's the tree of control groups is its property, and
// who wants a part of it for himself asks for it, so that a reload of systemd
// does not undo limits and its tools show the container where it belongs. An
// ordinary account asks the systemd of its session, which is how it comes to
// have limits at all.
//
// A scope needs a process from the start, and goes when the last one has left.
// The container's first process is born into its groups, though, so there is
// none yet: a placeholder stands in until then, a fork that does nothing and
// dies with its maker.
//
// The call goes over D-Bus, of which this package speaks what it takes: one
// connection, some calls, one signal. The library for it would cost every start
// of berth that imports it. Only who is asked for it (berth oci
// --systemd-cgroup) or has no other way to limits comes here (see package
// logind: there the scope is made around a process that runs already).
package systemd

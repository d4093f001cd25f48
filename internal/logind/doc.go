// Package logind is about the login session of an ordinary account, as far as
// containers depend on it: where their limits come from, and whether they go on
// when the person logs out.
//
// On a machine of systemd's a login (ssh, console, desktop) is a control group
// session-N.scope that the account may not touch, beside the account's own
// systemd, user@UID.service, below which it may make groups with limits. The
// two ends are different. A session's group is left alone at logout, or killed
// where logind.conf says KillUserProcesses=yes. The account's systemd ends with
// the last session of the account, and all below it, unless the account lingers.
//
// So a container without limits stays in the session, where nothing ends it on
// most machines. One that needs a group, or that the logout would kill, has its
// shim moved below the account's systemd, by asking that. What then is still in
// the way is said, with the remedy.
package logind

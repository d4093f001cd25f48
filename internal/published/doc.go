// Package published is what the accounts of one machine tell each other of
// their containers, for ps --all-users: who runs what since when, with which
// ports and GPUs. Environment, command and mounts are nobody else's affair and
// are not in it.
//
// There is no daemon and no right that berth has more than its caller, so
// everybody publishes for himself: a folder of the account's own, readable by
// all, in a place where all may make folders and none may remove another's
// (root's, sticky). The place is /run/berth/published where root has made that
// (root's first container does), else /tmp. /dev/shm is no good: logind clears
// it of an account's files when the account logs out, and containers go on.
//
// What others have written is not believed. The owner is who owns folder and
// file, never what is written; a container counts as running as long as the
// process named in it, which must be that owner's, too, does; names are cut and
// cleaned of what a terminal would obey; sizes and numbers are bounded. An
// account can still lie about its own containers, and about nobody else's.
package published

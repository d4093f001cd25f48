// Package userns makes user namespaces with more than one id, and starts
// programs in them.
//
// The kernel lets an ordinary account map one id: its own. More must have been
// granted to it: /etc/subuid and /etc/subgid (subuid(5)) list ranges of ids of
// the host that nobody else has, and the programs newuidmap and newgidmap, which
// root has given the right to do so, write maps that keep to these lists. Then
// an image's users can all exist, files of the container have true owners on
// the disk, and programs that switch users (gosu, su, sshd) do it really.
//
// [Ranges] says which ids an account has, or in words why it has no more than
// one. [Open] makes a namespace and returns its descriptor, which is all that
// there is of it: it lasts as long as somebody holds or has entered it. Files
// that belong to other ids can be made, read and removed only from inside, so
// programs that do so are started there ([Start]).
package userns

// Package state owns every byte that outlives a process: folders, locks,
// atomic records, unique names and temporary places.
//
// Many berth processes share one data root and none of them is in charge, so
// the file system is the referee:
//
//   - A record is written to a temporary name, synced and renamed ([WriteFile]);
//     a reader sees the old or the new one, never half of either, and therefore
//     takes no lock.
//   - A lock is a file of its own, never the record ([Lock]); the kernel drops
//     it when its holder dies.
//   - A name is claimed by exclusive creation ([Names]).
//   - Half-made things live below tmp/ in a folder that names its owner by pid
//     and start time ([Dir.Temp]); when the owner is gone anybody may sweep it.
package state

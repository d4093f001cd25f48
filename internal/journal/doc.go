// Package journal is the list of what happened: who made, started, stopped or
// removed what, and when. All processes that work on one data root write it and
// any may read it; there is nobody to ask, so `berth events` reads a file.
//
// An event is a line of JSON at the end of journal/events. A writer appends
// with one write(2) under a lock, which also decides the order: a line's time
// is never before that of the line above. Nothing is synced: the journal says
// what happened, it does not make it so, and after the machine went down the
// last lines may be missing.
//
// When the file has grown to [maxSize] it becomes journal/events.1, over the
// one that was there, so the journal never needs more than twice that much. A
// line that a killed writer has left half is ended by the next writer and
// passed over by readers. Readers take no lock; one that follows is woken by
// inotify(7).
package journal

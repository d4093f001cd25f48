// Package logs keeps what containers write: it takes output from the shim, makes
// lines of it, and hands them to a log driver; and it reads them back for `logs`.
//
// Two drivers keep files in the container's folder: json-file writes Docker's
// format, an object a line; local writes records that are smaller and quicker to
// read from the end. Both begin a new file when the current one is full and
// keep a number of the old ones, compressed if wanted. syslog and journald send
// each line elsewhere, and beside that keep a copy as local does, so that `logs`
// works for them as well. none keeps nothing.
//
// The old files of a log are numbered upwards and never renamed: log.json.7 is
// older than log.json.8, and log.json is the newest. So a reader needs no lock:
// it opens what is there, notices by the numbers whether the writer began a new
// file meanwhile, and finds the successor of the file it has just finished. The
// writer never waits for a reader.
//
// The options come parsed and checked by the command (package logopt): this
// package runs beside every container, so it links nothing that is heavy.
package logs

// Package progress shows how images come and go: bars that redraw themselves on
// a terminal, with rate and time left for each layer and for all; one line for
// each step where the output goes to a file or a pipe; one JSON object for each
// for programs.
package progress

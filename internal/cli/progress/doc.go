// Package progress shows how a pull goes on: bars that redraw themselves on a
// terminal, and one line for each step where the output goes to a file or a
// pipe.
package progress

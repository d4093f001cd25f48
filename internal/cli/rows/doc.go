// Package rows makes the lines of lists: a struct for each, whose fields are
// the words of a row, by the names and with the headings that Docker's
// templates and tables have.
package rows

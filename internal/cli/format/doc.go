// Package format prints what commands found: as a table, as JSON or through a
// Go template of the caller's, in Docker's layout and with Docker's template
// functions.
//
// A row is a struct with one string field for each word that a template may
// name. The tag "header" of a field is the head of its column. Templates are
// built only when one was given, because most commands print a plain table and
// the template engine is slow to start.
package format

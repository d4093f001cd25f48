// Package stress runs two hundred commands at the same moment on one data
// root: none may hang, crash or find a damaged record, one name goes to one
// container, and afterwards everything can be removed.
package stress

// Package architecture holds no code, only the tests that keep the house in
// shape: which room may use which, which outside modules are let in and why,
// how long a function or file may grow, and which calls belong to one package
// alone. docs/architecture.md draws the same picture for people.
//
// A test here that fails asks a question. The answer is either a different
// place for the code or one more line in the table, with its reason.
package architecture

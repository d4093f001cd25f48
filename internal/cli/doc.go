// Package cli is Docker's command line over the engine.
//
// A command parses its options, calls one verb of the engine and prints what
// comes back; what the nouns mean is decided below. Each verb is a file of its
// own, and table.go lists them all. Only the command that was asked for is
// built: a person types one at a time, and every start pays for what is set
// up.
//
// The words, columns and exit codes are those of docker, because scripts and
// fingers know them. Called through a link named docker the program speaks of
// itself by that name.
package cli

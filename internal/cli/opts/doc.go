// Package opts turns the options of run and create into Docker's container
// configuration.
//
// The words on the command line are Docker's, and so are the rules by which
// they become a [container.Config] and a [container.HostConfig]: which value
// wins, what a relative folder is relative to, how a size or a port is
// written, and the sentence that says what is wrong. The package only parses;
// it looks at no image and starts nothing.
//
// An option whose feature berth does not have yet is known here by name (see
// refused.go), so that it is refused instead of silently forgotten.
package opts

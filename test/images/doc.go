// Package images makes the images that the tests use, from Debian packages,
// and puts them into a registry.
//
// Nothing here shares code with berth: layers, manifests and the push are
// written from the specifications alone, so that a misreading in berth meets a
// second opinion.
//
// The image lmsysorg/sglang:latest of this package is a STAND-IN. It has the
// name, the default command and the command line of the real one, and a small
// web server in python in place of a 30 GB inference engine.
package images

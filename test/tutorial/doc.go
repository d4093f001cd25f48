// Package tutorial types what tutorials tell people to type, at a real
// terminal, as root and as an ordinary account: the tour of docs/guide.md
// command by command, and the usual tutorial for sglang through a symlink
// named docker.
//
// The image lmsysorg/sglang:latest is a stand-in (see package images): its
// server is a few lines of python with the same command line.
package tutorial

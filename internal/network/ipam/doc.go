// Package ipam is the arithmetic of addresses (IP address management): which
// range a new network gets, whether what a person asks for makes sense, and which
// address a container gets.
//
// It is pure: it reads and keeps no files and knows no kernel. Who has addresses
// to give, the holder of networks, opens a [Book] for each network; who makes
// networks says what is taken, and chooses with [Choose].
//
// A container gets the lowest free address of its family, as in Docker, so that
// what is run twice has the same address twice.
package ipam

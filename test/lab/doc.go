// Package lab is the laboratory that the tests below test/ work in: the built
// program, real registries filled with the test images, a root and an ordinary
// account, terminals, and a look under the carpet afterwards.
//
// Tests of both accounts run the same code: as root a test calls [Accounts],
// which runs it and then runs the test binary once more as an account that
// stands in no passwd file and owns nothing but one folder.
package lab

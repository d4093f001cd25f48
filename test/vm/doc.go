// Package vm is the server bench: whole machines as people are given accounts
// on, booted in QEMU without any help of the processor, in which the tests of
// berth run once more. What they have and a build machine need not have: Linux
// 6.1 and 5.10 of Debian, systemd with user managers, control groups version 2,
// logins through PAM, and three kinds of account.
//
//	root   the administrator
//	alice  an account of a directory service: no id ranges, ends with its logout
//	bob    made with useradd: id ranges, lingers
//
// The parts: [system.sh] makes the disk from Debian's packages, once; image.go
// keeps it by the content of its recipe. machine.go boots a machine and reaches
// its accounts by ssh, which gives them real sessions. bring.go packs berth and
// compiled test programs to a second disk. replay.go makes ordinary Go test
// results of what ran there.
//
// BERTH_VM=all adds what takes long: servers whose entry points switch users.
// BERTH_VM_LOG=FOLDER keeps what test programs say, as they say it.
//
// An emulated processor is ten to twenty times slower than a real one: no test
// here measures time.
package vm

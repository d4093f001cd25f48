// Package site applies what the administrator of a shared machine has decided
// for everybody's containers: what their names look like, what each of them has
// mounted, and how much it may use where nobody says otherwise.
//
// These are conventions that help people who mean well: an account runs berth
// with its own rights and could as well run a changed one. What an account must
// not do is the kernel's to forbid.
package site

// Package install does in containers of an ordinary account what people do as
// root of theirs: install packages, whose scripts make users, give files away
// and lower their rights, and use common tools. The account has a single id, so
// none of that can happen; the test sees to it that it goes well all the same.
package install

// Package sys holds the Linux calls that berth makes, one thin wrapper each.
// Errors name the call and the path it was given. Nothing here decides
// anything: packages above do.
package sys

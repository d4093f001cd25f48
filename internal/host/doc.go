// Package host tells what machine and what account berth runs on, and why the
// kernel refuses what it should allow.
package host

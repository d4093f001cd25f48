// Package term handles the terminal in front of the person: raw mode and the
// way back from it, the size of the window, reading keys in a way that can be
// called off, and the keys that mean "leave, and let it run".
package term

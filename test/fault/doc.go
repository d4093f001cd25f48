// Package fault pulls from a registry that misbehaves in every way that
// package lab knows, as root and as an ordinary account. Whatever happens, the
// result is right or there is one clear line, nothing is listed or kept that
// was not verified, and the same image comes whole from the next registry that
// behaves.
package fault

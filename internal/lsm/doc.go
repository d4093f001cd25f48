// Package lsm speaks with the two security modules that distributions switch
// on: AppArmor (Debian, Ubuntu, SUSE) and SELinux (Fedora, Red Hat).
//
// Both are a second opinion of the kernel on every access, after the usual
// permissions. AppArmor asks the profile that a process runs under: a text,
// compiled and loaded under a name beforehand, that says which paths and
// capabilities it may use. SELinux compares labels: every process and every
// file carries one, "user:role:type:level", and the policy of the distribution
// says what a type may do to another; containers are told apart by the pair of
// categories in their levels, "s0:c12,c345".
//
// Here is only what touches the machine: is the module there, load the profile,
// read the policy's contexts, label files. Which profile and which labels a
// container gets is decided in package spec, and the first process takes them
// on in package runtime.
//
// An ordinary account can load no profile, so its containers run under one only
// if it is named. Where nothing is switched on all of this costs one look at a
// file.
package lsm

// Package resources translates between what Docker calls a container's
// resources and the control groups: what it may use (the options of run and
// update, as limits to write) and what it does use (the groups' counters, as
// `stats` and the API tell them).
package resources

// Package kill ends berth's processes with SIGKILL at random moments, a few
// hundred times, and looks after each whether the next command understands
// what was left: nothing half-made is listed, no name stays taken. At the end
// everything is removed, and nothing may remain.
//
// The random numbers start from a seed that is printed; BERTH_KILL_SEED sets
// it and BERTH_KILL_ROUNDS the number of rounds.
package kill

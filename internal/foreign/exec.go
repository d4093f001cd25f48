package foreign

// ExecCommand is the command line by which the runtime runs one more process in
// the container, with its own standard streams or at its own terminal: it ends
// with that process, and with its code. It is not asked to leave, so that who
// started it has a child to look after. Options are those of `runc exec`.
func (r *Runtime) ExecCommand(options, args []string) []string {
	argv := append(r.command("exec"), options...)
	return append(append(argv, r.ID), args...)
}

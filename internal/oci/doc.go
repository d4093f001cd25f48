// Package oci is the command line that programs use to drive a container
// runtime: the one of runc, which containerd, Podman, Docker, CRI-O and others
// call. They give a bundle, a folder with a config.json as the OCI runtime
// specification has it, and say create, start, kill, delete. `berth oci VERB`
// answers, and so does a link to berth with the name runc.
//
// There is no shim here: who calls keeps the container's terminal, output and
// exit code, and gets its first process as a child (the kernel gives it to the
// nearest subreaper when `create` has ended). A container is nothing but
// processes, a control group and a folder:
//
//	ROOT/ID/state.json    the record: first process, control group, bundle
//	ROOT/ID/config.json   the configuration as it was when it was created
//	ROOT/ID/start.sock    where the first process waits for `start`
//	ROOT/ID/lock          held by the one command that changes the container
//
// Which state a container is in is not written down anywhere: it is read from
// its first process. Gone, it is stopped. A process that has been forked and
// has not executed anything yet (the kernel's PF_FORKNOEXEC) is still ours and
// waits for `start`, so the container is created; after that it is running. So
// the answer is right at every moment, whoever has been killed before.
//
// A command can be killed at every line. The folder appears whole, by rename,
// before anything else of the container exists, and goes last, by rename, too;
// its name decides who owns the name. What lies between is found from there,
// and `delete --force` removes it.
//
// A verb is a file. [Main] finds it; errors go out in the form runc has for
// them, into the file that --log names and to standard error.
package oci

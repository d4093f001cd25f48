// Package escape attacks berth from inside its containers.
//
// There is one test for each kind of published escape (runc, crun, Docker,
// Podman, BuildKit, NVIDIA's toolkit) that concerns what berth does. Each tries
// the attack for real, from an image and from a program that runs in a
// container, once as root and once as an ordinary account, and says in a
// comment which line of berth keeps it in: take that line out and the test
// fails. [docs/security.md] has the list of threats and names these tests.
//
// The attacker is the program in agent, which is built without berth's code
// and put into the images together with busybox. What it must never reach is a
// folder of the host with a secret, the canary: after each attack the folder
// must be as it was, and nobody may have told the secret. A second canary is a
// process of the host, through whose root the folder can be reached, too.
//
// Two tests take time. The racer exchanges paths for links on every path that
// berth resolves, for some seconds, or for as long as BERTH_RACER says ("5m").
// The soak starts BERTH_SOAK containers (100 if it is not set) and kills half of
// them somewhere on their way.
package escape

package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/state"
)

func openTest(t testing.TB) *Journal {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Open(dir)
}

func read(t *testing.T, j *Journal, q Query) []Event {
	t.Helper()
	var got []Event
	err := j.Read(context.Background(), q, func(e Event) error { got = append(got, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func actions(events []Event) string {
	var s []string
	for _, e := range events {
		s = append(s, e.Action)
	}
	return strings.Join(s, " ")
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	j := openTest(t)
	if got := read(t, j, Query{}); len(got) != 0 {
		t.Fatalf("an empty journal has %v", got)
	}
	want := Event{Type: "container", Action: "start", ID: "abc", Attributes: map[string]string{"name": "x\ny"}}
	before := time.Now()
	if err := j.Append(want, Event{Type: "container", Action: "die", ID: "abc"}); err != nil {
		t.Fatal(err)
	}
	got := read(t, j, Query{})
	if len(got) != 2 || got[0].Type != want.Type || got[0].Action != want.Action || got[0].ID != want.ID || got[0].Attributes["name"] != "x\ny" {
		t.Fatalf("got %+v", got)
	}
	if got[0].Time.Before(before) || got[1].Time.Before(got[0].Time) {
		t.Errorf("times: %v, then %v, begun at %v", got[0].Time, got[1].Time, before)
	}
}

func TestTimesChoose(t *testing.T) {
	j := openTest(t)
	at := time.Unix(1000, 0)
	for i := range 5 {
		if err := j.Append(Event{Action: strconv.Itoa(i), Time: at.Add(time.Duration(i) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	got := actions(read(t, j, Query{Since: at.Add(time.Second), Until: at.Add(3 * time.Second)}))
	if got != "1 2 3" {
		t.Errorf("got %q, want both ends and what is between", got)
	}
}

// TestHalfLine: a writer is killed in the middle of its line.
func TestHalfLine(t *testing.T) {
	j := openTest(t)
	must(t, j.Append(Event{Action: "one"}))
	f, err := os.OpenFile(j.current(), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	f.WriteString(`{"time":12,"type":"contai`)
	f.Close()
	must(t, j.Append(Event{Action: "two"}))
	if got := actions(read(t, j, Query{})); got != "one two" {
		t.Errorf("got %q", got)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyWriters: processes and goroutines append at once, over several
// rotations, while somebody follows: who follows misses nothing and sees each
// writer's events in order.
func TestManyWriters(t *testing.T) {
	if root := os.Getenv("JOURNAL_WRITER"); root != "" {
		writeMany(t, root, os.Getenv("JOURNAL_NAME"))
		return
	}
	j := openTest(t)
	const writers = 4
	var wg sync.WaitGroup
	for w := range writers {
		cmd := exec.Command(os.Args[0], "-test.run=^TestManyWriters$")
		cmd.Env = append(os.Environ(), "JOURNAL_WRITER="+j.dir.Root(), "JOURNAL_NAME="+strconv.Itoa(w))
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("writer: %v\n%s", err, out)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	next := map[string]int{}
	total := 0
	var last time.Time
	err := j.Read(ctx, Query{Follow: true}, func(e Event) error {
		if e.Time.Before(last) {
			return fmt.Errorf("an event of %v after one of %v", e.Time, last)
		}
		last = e.Time
		if n, _ := strconv.Atoi(e.Action); n != next[e.ID] {
			return fmt.Errorf("writer %s: event %d after %d", e.ID, n, next[e.ID]-1)
		}
		next[e.ID]++
		if total++; total == writers*eventsEach {
			return errDone
		}
		return nil
	})
	wg.Wait()
	if !errors.Is(err, errDone) {
		t.Fatalf("after %d events: %v", total, err)
	}
	if fi, err := os.Stat(j.former()); err != nil || fi.Size() < maxSize {
		t.Errorf("the journal was not put aside as it should: %v, %v", fi, err)
	}
	if fi, err := os.Stat(j.current()); err != nil || fi.Size() > maxSize+4096 {
		t.Errorf("the current file: %v, %v", fi, err)
	}
}

var errDone = errors.New("done")

const eventsEach = 1500

func writeMany(t *testing.T, root, name string) {
	dir, err := state.Open(root)
	must(t, err)
	j := Open(dir)
	pad := strings.Repeat("x", 2000) // so that 6,000 events fill three files
	for i := range eventsEach {
		must(t, j.Append(Event{Type: "container", Action: strconv.Itoa(i), ID: name, Attributes: map[string]string{"pad": pad}}))
	}
}

func TestFollowEnds(t *testing.T) {
	j := openTest(t)
	must(t, j.Append(Event{Action: "old"}))
	start := time.Now()
	if got := actions(read(t, j, Query{Follow: true, Until: start.Add(50 * time.Millisecond)})); got != "old" {
		t.Errorf("got %q", got)
	}
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("it ended after %v, before the time was there", d)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := j.Read(ctx, Query{Follow: true}, func(Event) error { return nil }); err != nil {
		t.Errorf("the end of the context is an error: %v", err)
	}
}

// TestFollowWaits: an event that comes while somebody waits wakes them.
func TestFollowWaits(t *testing.T) {
	j := openTest(t)
	must(t, j.Append(Event{Action: "first"}))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := j.Read(ctx, Query{Follow: true}, func(e Event) error {
		if e.Action == "last" {
			return errDone
		}
		time.AfterFunc(30*time.Millisecond, func() { j.Append(Event{Action: "last"}) })
		return nil
	})
	if !errors.Is(err, errDone) {
		t.Fatalf("nothing came: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	j := openTest(b)
	e := Event{Type: "container", Action: "start", ID: strings.Repeat("a", 64), Attributes: map[string]string{"image": "busybox", "name": "happy_hopper"}}
	for b.Loop() {
		must(b, j.Append(e))
	}
}

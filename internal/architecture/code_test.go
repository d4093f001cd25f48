package architecture

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines    = 600
	maxFuncLines    = 60
	maxPackageLines = 5000
	// What runs beside a container, and in it before its program: one
	// evening's reading. The compiler of what nsinit carries out, runtime,
	// works before that, in the command, and is a package like any other.
	maxPrivilegeLines = 4400
)

// longFunctions may pass maxFuncLines: room.function with the reason.
var longFunctions = map[string]string{
	"internal/inflate.fast":     "the inner loop of the gzip decoder: its variables live in registers, which a call would empty",
	"internal/inflate.fastWide": "the same with symbols of 16 bits",
}

// forbidden calls, with the rooms that may make them all the same and why.
var forbidden = map[string]struct {
	why    string
	except map[string]string
}{
	"os.WriteFile": {
		"a reader or a crash sees half a file: use state.WriteFile",
		map[string]string{
			"internal/cgroup":  "a control file of the kernel takes one write and no rename",
			"internal/sys":     "kernel control files",
			"internal/runtime": "kernel control files",
			"internal/nsinit":  "kernel control files",
		},
	},
	"os.Create": {
		"a reader or a crash sees half a file: use state.WriteFile or a folder from state.Dir.Temp",
		nil,
	},
	"os.RemoveAll": {
		"layers hold folders that deny their owner access: use sys.RemoveAll or state.Dir.Discard",
		map[string]string{"internal/sys": "the one place that adds what os.RemoveAll lacks"},
	},
	"os.TempDir":   {"half-made things live in the data root, where they are swept: use state.Dir.Temp", nil},
	"os.Setenv":    {"the environment belongs to the caller", nil},
	"os.Chdir":     {"the working folder belongs to the whole process", map[string]string{"internal/shim": "the shim's whole life is one container: it leaves the caller's folder so as not to hold it"}},
	"os.Exit":      {"clean-up would be jumped over: return an exit code to main", map[string]string{"cmd/berth": "this is main", "cmd/berth-shim": "this is main", "cmd/berth-remote": "this is main", "cmd/berth-net": "this is main", "cmd/berth-oci": "this is main"}},
	"log.Fatal":    {"return the error", nil},
	"log.Printf":   {"the command prints errors once, at its end; the shim writes to its container's folder", nil},
	"exec.Command": {"berth runs no helper programs", map[string]string{"internal/registry": "docker-credential-* helpers are programs by Docker's definition", "internal/engine": "starts the shim", "internal/shim": "restarts itself", "internal/cli": "ps(1) for top", "internal/oci": "ps(1) for ps, hooks are programs by definition, newuidmap(1) has the rights we lack", "internal/network/uplink": "pasta(1), where an administrator has installed it", "internal/lsm": "apparmor_parser, the only way from a profile's text to what this kernel reads"}},
}

type source struct {
	room, path string
	lines      int
	fset       *token.FileSet
	file       *ast.File
}

// sources parses every Go file below cmd and internal that is no test.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	for _, top := range []string{"../../cmd", "../../internal"} {
		err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return err
			}
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, p, text, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel("../..", p)
			if err != nil || slices.Contains(workshop, filepath.ToSlash(filepath.Dir(rel))) {
				return err
			}
			out = append(out, source{
				room: filepath.ToSlash(filepath.Dir(rel)), path: rel,
				lines: bytes.Count(text, []byte("\n")), fset: fset, file: f,
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) == 0 {
		t.Fatal("found no source files: the test looks in the wrong place")
	}
	return out
}

func TestSizes(t *testing.T) {
	lines := map[string]int{}
	for _, s := range sources(t) {
		lines[s.room] += s.lines
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, %d are allowed: is there a room inside that wants its own door?", s.path, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			name := s.room + "." + f.Name.Name
			if n > maxFuncLines && longFunctions[name] == "" {
				t.Errorf("%s: %s has %d lines, %d are allowed", s.fset.Position(f.Pos()), f.Name.Name, n, maxFuncLines)
			}
		}
	}
	for room, n := range lines {
		if n > maxPackageLines {
			t.Errorf("%s has %d lines, %d are allowed", room, n, maxPackageLines)
		}
	}
	privileged := lines["internal/shim"] + lines["internal/nsinit"]
	if privileged > maxPrivilegeLines {
		t.Errorf("shim and nsinit have %d lines together, %d are allowed", privileged, maxPrivilegeLines)
	}
	t.Logf("shim and nsinit: %d lines", privileged)
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			rule, ok := forbidden[id.Name+"."+sel.Sel.Name]
			if ok && s.room != "internal/state" && rule.except[s.room] == "" {
				t.Errorf("%s: %s.%s: %s", s.fset.Position(n.Pos()), id.Name, sel.Sel.Name, rule.why)
			}
			return true
		})
	}
}

// TestNothingHappensAtStart: every linked package pays at every start of every
// berth process, so none may do work before main.
func TestNothingHappensAtStart(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s: func init works at every start: call it from where it is needed", s.fset.Position(d.Pos()))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					for _, spec := range d.Specs {
						checkVar(t, s, spec.(*ast.ValueSpec))
					}
				}
			}
		}
	}
}

// calmCalls may initialise a package-level variable: they cost nanoseconds.
var calmCalls = []string{"errors.New", "fmt.Errorf", "time.Duration", "int", "uint32", "uint64", "string", "nsinit.Int", "nsinit.Str"}

func checkVar(t *testing.T, s source, v *ast.ValueSpec) {
	if v.Names[0].Name == "_" {
		return // a check by the compiler
	}
	for _, value := range v.Values {
		pos := s.fset.Position(v.Pos())
		switch x := value.(type) {
		case *ast.CallExpr:
			if name := callName(x); !slices.Contains(calmCalls, name) {
				t.Errorf("%s: %s is set by calling %s at every start: make it a function, or sync.OnceValue around it inside one", pos, v.Names[0], name)
			}
		case *ast.CompositeLit:
			if _, isMap := x.Type.(*ast.MapType); isMap {
				t.Errorf("%s: %s is a map filled at every start: use a switch or a function", pos, v.Names[0])
			}
		}
	}
}

func callName(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return fmt.Sprintf("%s.%s", f.X, f.Sel.Name)
	}
	return "a function"
}

// TestPackagesExplainThemselves: every room has a package comment.
func TestPackagesExplainThemselves(t *testing.T) {
	has := map[string]bool{}
	for _, s := range sources(t) {
		has[s.room] = has[s.room] || s.file.Doc != nil
	}
	for room, ok := range has {
		if !ok {
			t.Errorf("%s has no package comment", room)
		}
	}
}

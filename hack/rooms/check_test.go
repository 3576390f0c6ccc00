package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	const page = `# Architecture

| other | table |
|---|---|
| ` + "`nothing`" + ` | a |

| room | duty | imports |
|---|---|---|
| ` + "`cmd`" + ` | starts | all below |
| ` + "`controller`" + ` | writes | its parts, policy |
| ` + "`controller/a`, `controller/b`" + ` | parts | the policy rooms |
| ` + "`policy/leak`" + ` | rules | policy |
| ` + "`policy`" + ` | fences | |

## Below

| ` + "`late`" + ` | a | b |
`
	ordinary := func(changes map[string][]string) map[string][]string {
		packages := map[string][]string{
			"cmd": {"controller", "policy"}, "controller": {"controller/a", "controller/b", "policy"},
			"controller/a": {"policy"}, "controller/b": {"policy/leak"}, "policy/leak": {"policy"}, "policy": nil,
		}
		for name, imports := range changes {
			packages[name] = imports
		}
		return packages
	}
	for name, test := range map[string]struct {
		changes map[string][]string
		want    []string
	}{
		"as the table says":               {nil, nil},
		"a room that is not in the table": {map[string][]string{"xds": nil}, []string{"xds is not in the table of rooms"}},
		"an import that the row does not name": {map[string][]string{"policy/leak": {"policy", "controller/a"}},
			[]string{"policy/leak imports controller/a, which its row does not name"}},
		"a part imports another one": {map[string][]string{"controller/a": {"controller/b"}},
			[]string{"controller/a imports controller/b, which its row does not name"}},
		"an import from above": {map[string][]string{"cmd": {"cmd"}}, []string{"cmd imports cmd, which is not below it in the table"}},
		"an import that is gone": {map[string][]string{"policy/leak": nil},
			[]string{"policy/leak: the row names policy, which is not imported"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, check(table(page), ordinary(test.changes))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	without := ordinary(nil)
	delete(without, "controller/b")
	if diff := cmp.Diff([]string{"controller/b is in the table of rooms, and is no package"}, idle(table(page), without)); diff != "" {
		t.Errorf("problems without a room (-want +got):\n%s", diff)
	}
}

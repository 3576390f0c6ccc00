package meshconfig_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

// meshPool are hosts that cover each other in every way that Istio knows.
var meshPool = strings.Fields("* *.a *.b *.ab *.kube-system x.a y.a x.b y.b x-db.a x.ab dns.kube-system kubernetes.default")

// randomWant picks entries as an index could return them: each host once, never false for Istio's defaults.
func randomWant(r *rand.Rand) []policy.ClusterLocalEntry {
	var hosts []string
	for _, host := range meshPool {
		loose := strings.HasSuffix(host, "kube-system") || host == "kubernetes.default"
		switch r.IntN(5) {
		case 0, 1:
			hosts = append(hosts, host)
		case 2:
			if !loose {
				hosts = append(hosts, "!"+host)
			}
		}
	}
	return meshEntries(strings.Join(hosts, " "))
}

// randomMesh writes a mesh config in one of the many forms in which users and installers write it. Exact
// says that ours can only be inserted into it, so that nothing of the text may be missing afterwards.
func randomMesh(r *rand.Rand) (text string, exact bool) {
	pick := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	var lines []string
	noise := func() {
		for range r.IntN(3) {
			lines = append(lines, pick("", "# é", "  # - hosts:", "   "))
		}
	}
	noise()
	lines = append(lines, pick("trustDomain: cluster.local", `"trustDomain": "cluster.local" # td`, "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012"))
	noise()
	key := pick("serviceSettings:", `"serviceSettings" :`, "'serviceSettings':", "service_settings:")
	exact = true
	switch r.IntN(5) {
	case 0: // no list
	case 1:
		exact = false
		lines = append(lines, key+pick(" []", " [ ]", "  null", " ~", " &s []")+pick("", " # none"))
	case 2:
		var items []string
		for range 1 + r.IntN(3) {
			items = append(items, randomFlowEntry(r))
		}
		lines = append(lines, key+" ["+pick("", " ")+strings.Join(items, pick(",", " , ", ",\n  "))+pick("", " ", ", ")+"]"+pick("", " # theirs"))
	default:
		lines = append(lines, key+pick("", " # theirs"))
		indent := pick("", "  ", "    ")
		for range 1 + r.IntN(3) {
			noise()
			lines = append(lines, randomBlockEntry(r, indent)...)
		}
	}
	noise()
	if r.IntN(2) == 0 {
		lines = append(lines, "rootNamespace: istio-system")
		noise()
	}
	text = strings.Join(lines, "\n") + pick("", "\n", "\n\n")
	return strings.ReplaceAll(text, "\n", pick("\n", "\n", "\r\n")), exact
}

func randomHost(r *rand.Rand) string {
	host := append(meshPool, "*-db.a", "*b", "own.c")[r.IntN(len(meshPool)+3)] + ".svc." + meshDomain
	return []string{"'" + host + "'", `"` + host + `"`}[r.IntN(2)]
}

func randomFlowEntry(r *rand.Rand) string {
	var hosts []string
	for range r.IntN(4) {
		hosts = append(hosts, randomHost(r))
	}
	return "{settings: {clusterLocal: " + []string{"true", "false", "yes", ""}[r.IntN(4)] + "}, hosts: [" + strings.Join(hosts, ", ") + "]}"
}

func randomBlockEntry(r *rand.Rand, indent string) []string {
	if r.IntN(4) == 0 {
		return []string{indent + "- " + randomFlowEntry(r)}
	}
	settings := [][]string{{"settings:", "  clusterLocal: true"}, {"settings: {clusterLocal: false} # no"}, {"settings:"}}[r.IntN(3)]
	hosts := []string{"hosts:"}
	deeper := []string{"", "  "}[r.IntN(2)]
	for range 1 + r.IntN(3) {
		hosts = append(hosts, deeper+"- "+randomHost(r)+[]string{"", " # h"}[r.IntN(2)])
	}
	fields := slices.Concat(settings, hosts)
	if r.IntN(2) == 0 {
		fields = slices.Concat(hosts, settings)
	}
	for i, line := range fields {
		fields[i] = indent + "  " + line
	}
	fields[0] = indent + "- " + strings.TrimLeft(fields[0], " ")
	return fields
}

// TestMeshConfigRandom applies random wishes one after the other to random texts.
func TestMeshConfigRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		text, exact := randomMesh(r)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			last := meshconfig.Plan{Text: text}
			for range 3 {
				want := randomWant(r)
				plan := meshRoundTrip(t, text, want)
				if exact && !inserted(text, plan.Text) {
					t.Errorf("must only gain bytes:\n%s\ngot:\n%s", text, plan.Text)
				}
				next := meshEdit(t, last.Text, last.Owned, want)
				if next.Text != plan.Text || next.Owned != plan.Owned {
					t.Errorf("the way to a wish must not matter: want\n%s\ngot\n%s", plan.Text, next.Text)
				}
				last = next
			}
			if t.Failed() {
				t.Logf("text:\n%s", text)
			}
		})
	}
}

// TestMeshConfigSpoilt edits texts that somebody has torn apart. What can still be edited must not lose a
// byte, nor anything must stay behind.
func TestMeshConfigSpoilt(t *testing.T) {
	t.Parallel()
	texts := meshTexts(t)
	tokens := strings.Split("\n|\r\n|\r| |  |\t|- |# c|#|'|\"|[|]|{|}|,|: |&a |*a |!!str |>-\n|? |---\n|...\n|~|null|\\|<<: |%YAML 1.1\n|"+
		"é|\u0085|\u2028|\ufeff|serviceSettings:|hosts:|settings:|clusterLocal: true", "|")
	edited := 0
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 99))
		text := texts[r.IntN(len(texts))]
		for range 1 + r.IntN(4) {
			at := r.IntN(len(text) + 1)
			upTo, to := min(len(text), at+r.IntN(30)), r.IntN(len(text)+1)
			switch r.IntN(3) {
			case 0:
				text = text[:at] + tokens[r.IntN(len(tokens))] + text[at:]
			case 1:
				text = text[:at] + text[min(upTo, at+5):]
			case 2:
				text = text[:to] + text[at:upTo] + text[to:]
			}
		}
		want := randomWant(r)
		plan, err := meshconfig.PlanText(meshconfig.Input{Text: text, Want: want, Domain: meshDomain})
		if err != nil {
			continue
		}
		edited++
		if again := meshEdit(t, plan.Text, plan.Owned, want); again.Text != plan.Text || again.Owned != plan.Owned {
			t.Errorf("the second edit of\n%q\nmust change nothing, got\n%q", plan.Text, again.Text)
		}
		if removed := meshEdit(t, plan.Text, plan.Owned, nil); removed.Text != text {
			t.Errorf("must be as before:\n%q\ngot\n%q", text, removed.Text)
		}
	}
	if edited < 400 {
		t.Errorf("only %d texts could be edited", edited)
	}
}

func meshTexts(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	var texts []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// inserted reports whether one run of bytes was put into a text, and nothing taken out.
func inserted(before, after string) bool {
	n := 0
	for n < len(before) && n < len(after) && before[n] == after[n] {
		n++
	}
	return len(after) >= len(before) && strings.HasSuffix(after, before[n:])
}

// FuzzMeshConfig demands of any text that can be edited: the edit is repeatable, can be taken back to the
// last byte, and puts in force what is wanted.
func FuzzMeshConfig(f *testing.F) {
	for i, text := range meshTexts(f) {
		f.Add(text, "", uint64(i))
		f.Add(text, `{"true":["a.b.svc.cluster.local","*.shop.svc.cluster.local","reviews.default.svc.cluster.local"],"created":true}`, uint64(i))
	}
	f.Fuzz(func(t *testing.T, text, owned string, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 7))
		edit := func(text, owned string, want []policy.ClusterLocalEntry) (meshconfig.Plan, error) {
			return meshconfig.PlanText(meshconfig.Input{Text: text, Owned: owned, Want: want, Domain: meshDomain})
		}
		base, err := edit(text, owned, nil)
		if err != nil {
			return
		}
		last := base
		for range 3 {
			want := randomWant(r)
			plan, err := edit(base.Text, "", want)
			if err != nil {
				return
			}
			next, err := edit(last.Text, last.Owned, want)
			if err != nil || next.Text != plan.Text {
				t.Fatalf("from\n%q\nmust come\n%q\ngot %v\n%q", last.Text, plan.Text, err, next.Text)
			}
			again, err := edit(plan.Text, plan.Owned, want)
			if err != nil || again.Text != plan.Text || again.Owned != plan.Owned {
				t.Fatalf("the second edit of\n%q\nmust change nothing, got %v\n%q", plan.Text, err, again.Text)
			}
			removed, err := edit(plan.Text, plan.Owned, nil)
			if err != nil || removed.Text != base.Text || removed.Owned != "" {
				t.Fatalf("must be as before:\n%q\ngot %v\n%q", base.Text, err, removed.Text)
			}
			local, err := meshconfig.EffectiveClusterLocal(meshDomain, plan.Text)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range want {
				if host := strings.ReplaceAll(w.Host, "*", "new"); w.Local && strings.Contains(w.Host, "*") && !local.Has(host) {
					if strict, _, _ := wantedLocal(want, host); strict && !strings.Contains(host, ".kube-system.") {
						t.Fatalf("%s must be local in\n%q", host, plan.Text)
					}
				} else if !strings.Contains(w.Host, "*") && local.Has(w.Host) != w.Local {
					t.Fatalf("%s must be local %t in\n%q", w.Host, w.Local, plan.Text)
				}
			}
			last = next
		}
	})
}

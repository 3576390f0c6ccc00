package policy_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy"
)

// FuzzDecode: no panic for any kind; an error names the kind and no type of Go; and the view is the one that
// the decoder of the API server reads.
func FuzzDecode(f *testing.F) {
	kinds := slices.Sorted(maps.Keys(upstream()))
	for _, object := range upstream() {
		f.Add(marshal(f, object))
	}
	for _, text := range []string{
		`{"spec": {"http": [null, {"route": [null]}], "subsets": [null], "hosts": [1, "a"]}}`,
		`{"spec": {"rules": [null, {"http": null, "filters": [null, {"requestMirror": null}], "backendRefs": [null, {"group": null}]}], "parentRefs": [{"kind": ""}]}}`,
		`{"spec": {"servers": [null, {"tls": null}], "endpoints": [null], "template": null, "defaultBackend": {"service": null}, "targetRefs": [null]}}`,
		`{"endpoints": [null, {"addresses": null}], "subsets": [{"addresses": [null]}], "data": {"mesh": null}, "Data": 1}`,
		`{"metadata": {"labels": {"a": 1.5e400}}}`,
		`{"metadata": {"labels": {"a": null, "\ud800": "\ud800x"}, "annotations": {}}, "spec": {"subsets": [], "hosts": null}}`,
		"{\"metadata\": {\"name\": \"a\xffb\"}, \"Spec\": 1, \"spec\": {\"HOST\": \"a\"}}",
		`{"spec": {"trafficPolicy": {"outlierDetection": null, "loadBalancer": {"zoneAwareLbSetting": null,
			"localityLbSetting": {"enabled": null, "failover": [null, {"from" : 1e400}], "distribute": [{"to": {"a": null, "b": -0}}]}},
			"tunnel": {"targetPort": 1.0}}}}`,
		`{"spec": {"host": "a", "host": null, "subsets": [{"name": "b", "labels": {}, "name": "c"}]}}`, `{"spec": 1e400}`, `null`, `{"metadata": null, "spec": null}`, ` {} `, `{} {}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range kinds {
			object, err := policy.Decode(kind, data)
			want, wantErr := decodeSlowly(kind, data)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%s: %s: error %v, want %v", kind, data, err, wantErr)
			}
			// The API server passes no key twice, and readers disagree about which one counts.
			unique := jsontext.Value(data).IsValid(jsontext.AllowInvalidUTF8(true))
			if diff := cmp.Diff(want, object); unique && err == nil && diff != "" {
				t.Fatalf("%s: %s (-want +got):\n%s", kind, data, diff)
			}
			if err != nil {
				if text := err.Error(); !strings.HasPrefix(text, "decode "+kind+": ") || strings.Contains(text, "Go ") || strings.Contains(text, "json") {
					t.Errorf("error %q", text)
				}
				continue
			}
			walkAll(object)
		}
	})
}

// decodeSlowly reads a view with the decoder that the API server uses.
func decodeSlowly(kind string, data []byte) (*policy.Object, error) {
	object := &policy.Object{Kind: kind}
	var fields any = new(json.RawMessage)
	if name := fieldOf(kind); name != "" {
		field := reflect.ValueOf(object).Elem().FieldByName(name)
		field.Set(reflect.New(field.Type().Elem()))
		fields = field.Interface()
	}
	view := struct {
		Metadata *policy.Metadata `json:"metadata"`
		Spec     any              `json:"spec"`
	}{&object.Metadata, fields}
	if lacksSpec(kind) {
		view.Spec = new(json.RawMessage)
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, fields); err != nil {
			return nil, err
		}
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &view); err != nil {
		return object, err
	}
	switch {
	case object.Service != nil:
		object.Service.ExportTo = policy.ExportTo(object.Metadata.Annotations)
		status := struct {
			Status *policy.ServiceStatus `json:"status"`
		}{&object.Service.Status}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &status); err != nil {
			return object, err
		}
		return object, decodeOwnerSlowly(data, &object.Service.Owner)
	case object.VirtualService != nil:
		return object, decodeOwnerSlowly(data, &object.VirtualService.Owner)
	case object.ServiceEntry != nil:
		status := struct {
			Status *policy.EntryStatus `json:"status"`
		}{&object.ServiceEntry.Status}
		return object, kjson.UnmarshalCaseSensitivePreserveInts(data, &status)
	}
	return object, nil
}

// decodeOwnerSlowly reads the owner that is a controller.
func decodeOwnerSlowly(data []byte, owner **policy.Owner) error {
	var view struct {
		Metadata struct {
			OwnerReferences []policy.Owner `json:"ownerReferences"`
		} `json:"metadata"`
	}
	err := kjson.UnmarshalCaseSensitivePreserveInts(data, &view)
	for _, o := range slices.Backward(view.Metadata.OwnerReferences) {
		if o.Controller {
			*owner = &o
		}
	}
	return err
}

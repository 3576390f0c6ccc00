package object_test

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

	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/upstream"
)

// FuzzDecode: no panic for any kind; an error names the kind and no type of Go; and the view is the one that
// the decoder of the API server reads.
func FuzzDecode(f *testing.F) {
	kinds := slices.Sorted(maps.Keys(upstream.Objects()))
	for _, object := range upstream.Objects() {
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
			object, err := object.Decode(kind, data)
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
func decodeSlowly(kind string, data []byte) (*object.Object, error) {
	obj := &object.Object{Kind: kind}
	var fields any = new(json.RawMessage)
	if name := fieldOf(kind); name != "" {
		field := reflect.ValueOf(obj).Elem().FieldByName(name)
		field.Set(reflect.New(field.Type().Elem()))
		fields = field.Interface()
	}
	view := struct {
		Metadata *object.Metadata `json:"metadata"`
		Spec     any              `json:"spec"`
	}{&obj.Metadata, fields}
	if lacksSpec(kind) {
		view.Spec = new(json.RawMessage)
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, fields); err != nil {
			return nil, err
		}
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &view); err != nil {
		return obj, err
	}
	switch {
	case obj.Service != nil:
		obj.Service.ExportTo = object.ExportTo(obj.Metadata.Annotations)
		status := struct {
			Status *object.ServiceStatus `json:"status"`
		}{&obj.Service.Status}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &status); err != nil {
			return obj, err
		}
		return obj, decodeOwnerSlowly(data, &obj.Service.Owner)
	case obj.VirtualService != nil:
		return obj, decodeOwnerSlowly(data, &obj.VirtualService.Owner)
	case obj.ServiceEntry != nil:
		status := struct {
			Status *object.EntryStatus `json:"status"`
		}{&obj.ServiceEntry.Status}
		return obj, kjson.UnmarshalCaseSensitivePreserveInts(data, &status)
	}
	return obj, nil
}

// decodeOwnerSlowly reads the owner that is a controller.
func decodeOwnerSlowly(data []byte, owner **object.Owner) error {
	var view struct {
		Metadata struct {
			OwnerReferences []object.Owner `json:"ownerReferences"`
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

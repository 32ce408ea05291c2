//go:build ignore

// Prints the fields of the internal Kubernetes types, which messages of the API server show under their Go names.
// Run in a module that requires k8s.io/kubernetes (with its replaced staging modules); tools/codegen_internal_types.py
// makes src/tiphys/api/data/internal_types.json of the output.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

var out = map[string][][]string{}

func own(t reflect.Type) bool {
	return strings.HasPrefix(t.PkgPath(), "k8s.io/kubernetes/pkg/apis/")
}
func name(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	return parts[len(parts)-1] + "." + t.Name()
}
func spell(t reflect.Type, v reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		if v != nil && v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		return "*" + spell(t.Elem(), v)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		if v != nil && v.Kind() == reflect.Slice {
			v = v.Elem()
		}
		return "[]" + spell(t.Elem(), v)
	case reflect.Map:
		if v != nil && v.Kind() == reflect.Map {
			v = v.Elem()
		}
		return "{}" + spell(t.Elem(), v)
	case reflect.Struct:
		if own(t) {
			visit(t, v)
			return name(t)
		}
		return "=" + t.Name()
	case reflect.Bool:
		return "b"
	case reflect.String:
		return "s"
	case reflect.Interface:
		return "any"
	default:
		return "n"
	}
}
func jsonName(f reflect.StructField) string {
	return strings.Split(f.Tag.Get("json"), ",")[0]
}
func visit(t reflect.Type, v reflect.Type) {
	if _, ok := out[name(t)]; ok {
		return
	}
	out[name(t)] = nil
	var rows [][]string
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		if f.Name == "TypeMeta" {
			continue
		}
		key := ""
		var vt reflect.Type
		if v != nil && v.Kind() == reflect.Struct {
			if vf, ok := v.FieldByName(f.Name); ok {
				key = jsonName(vf)
				vt = vf.Type
			}
		}
		if f.Anonymous {
			key = "<"
		} else if key == "" {
			key = "?"
		}
		shown := jsonName(f)
		if shown == "" {
			shown = f.Name
		}
		rows = append(rows, []string{shown, key, spell(f.Type, vt)})
	}
	out[name(t)] = rows
}

func main() {
	gvks := []schema.GroupVersionKind{}
	for gvk := range legacyscheme.Scheme.AllKnownTypes() {
		if !strings.HasSuffix(gvk.Kind, "List") && gvk.Version == "v1" || gvk.Version == "v2" {
			gvks = append(gvks, gvk)
		}
	}
	sort.Slice(gvks, func(i, j int) bool { return gvks[i].String() < gvks[j].String() })
	for _, gvk := range gvks {
		in, err := legacyscheme.Scheme.New(schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind})
		if err != nil {
			continue
		}
		ex, _ := legacyscheme.Scheme.New(gvk)
		t := reflect.TypeOf(in).Elem()
		if own(t) && !strings.HasSuffix(t.Name(), "Options") {
			visit(t, reflect.TypeOf(ex).Elem())
		}
	}
	b, _ := json.Marshal(out)
	os.Stdout.Write(b)
}

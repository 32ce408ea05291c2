// Prints the structs that a pod template is made of, in the order of their fields, as machinery/hashes/pod_template.json
// wants them. Run in a Go module that requires k8s.io/api: go run pod_template.go
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"

	v1 "k8s.io/api/core/v1"
)

func collect(t reflect.Type, found map[string][][]string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collect(t.Elem(), found)
	case reflect.Struct:
		if _, known := found[t.String()]; known || !strings.HasPrefix(t.String(), "v1.") {
			return
		}
		found[t.String()] = nil
		rows := [][]string{}
		for i := 0; i < t.NumField(); i++ {
			f := t.Field(i)
			rows = append(rows, []string{f.Name, strings.Split(f.Tag.Get("json"), ",")[0], f.Type.String()})
			collect(f.Type, found)
		}
		found[t.String()] = rows
	}
}

func main() {
	found := map[string][][]string{}
	collect(reflect.TypeOf(v1.PodTemplateSpec{}), found)
	json.NewEncoder(os.Stdout).Encode(map[string]any{"structs": found})
}

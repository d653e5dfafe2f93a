//go:build tools

// Package tools names the program that tests/interop/test_h2spec.py builds, with versions that Debian 12's
// Go takes.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"

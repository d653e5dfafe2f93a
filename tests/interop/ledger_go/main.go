// Reads a GVM ledger with the Go project's own packages for signed notes and transparency logs.
//
//	ledger_go KEY DIR OLD-CHECKPOINT PROOF...
//
// Checks the signature of DIR/checkpoint, reads hashes from DIR/tile through tlog.TileHashReader (which
// authenticates every tile against the root), proves that OLD-CHECKPOINT is a prefix, and checks each
// PROOF file (with PROOF.entry beside it) against a proof made from the tiles. Prints one line a check.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type head struct {
	origin string
	size   int64
	root   tlog.Hash
}

func fail(format string, args ...interface{}) {
	fmt.Printf("FAIL "+format+"\n", args...)
	os.Exit(1)
}

func openHead(data []byte, verifier note.Verifier) head {
	n, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		fail("note.Open: %v", err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		fail("not a checkpoint: %q", n.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		fail("size: %v", err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		fail("root: %v", err)
	}
	return head{lines[0], size, root}
}

// tlog-tiles on disk, as tlog.TileReader.
type tiles struct{ dir string }

func (t tiles) Height() int { return 8 }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range want {
		// tlog names a tile tile/<height>/<level>/<n>; C2SP tlog-tiles has one height and no part for it.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil && tile.W < 256 { // the full tile may stand for a partial one
			data, err = os.ReadFile(filepath.Join(t.dir, strings.Split(path, ".p/")[0]))
			if err == nil {
				data = data[:tile.W*32]
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

// A c2sp.org/tlog-proof@v1 file: index, path, checkpoint.
func readProof(path string) (int64, tlog.RecordProof, []byte) {
	data, err := os.ReadFile(path)
	if err != nil {
		fail("%v", err)
	}
	parts := bytes.SplitN(data, []byte("\n\n"), 2)
	lines := strings.Split(string(parts[0]), "\n")
	if len(parts) != 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		fail("not a proof: %q", lines)
	}
	index, err := strconv.ParseInt(lines[1][6:], 10, 64)
	if err != nil {
		fail("index: %v", err)
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != sha256.Size {
			fail("hash %q", line)
		}
		proof = append(proof, tlog.Hash(*(*[32]byte)(h)))
	}
	return index, proof, parts[1]
}

func checkProof(path string, verifier note.Verifier, reader tlog.HashReader, now head) {
	index, proof, checkpoint := readProof(path)
	at := openHead(checkpoint, verifier)
	entry, err := os.ReadFile(path + ".entry")
	if err != nil {
		fail("%v", err)
	}
	leaf := tlog.RecordHash(entry)
	if err := tlog.CheckRecord(proof, at.size, at.root, index, leaf); err != nil {
		fail("%s: %v", path, err)
	}
	if tlog.CheckRecord(proof, at.size, at.root, index, tlog.RecordHash([]byte("{}"))) == nil {
		fail("%s holds for another entry", path)
	}
	own, err := tlog.ProveRecord(now.size, index, reader)
	if err != nil {
		fail("ProveRecord: %v", err)
	}
	if err := tlog.CheckRecord(own, now.size, now.root, index, leaf); err != nil {
		fail("own proof of %d: %v", index, err)
	}
	fmt.Printf("ok proof of entry %d of %d\n", index, at.size)
}

func main() {
	key, dir, old := strings.TrimSpace(os.Args[1]), os.Args[2], os.Args[3]
	verifier, err := note.NewVerifier(key)
	if err != nil {
		fail("NewVerifier: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		fail("%v", err)
	}
	now := openHead(data, verifier)
	if now.origin != verifier.Name() {
		fail("origin %q, key of %q", now.origin, verifier.Name())
	}
	fmt.Printf("ok checkpoint of %d entries by %s\n", now.size, now.origin)
	reader := tlog.TileHashReader(tlog.Tree{N: now.size, Hash: now.root}, tiles{dir})
	root, err := tlog.TreeHash(now.size, reader)
	if err != nil || root != now.root {
		fail("TreeHash: %v", err)
	}
	fmt.Println("ok tiles give the signed root")
	data, err = os.ReadFile(old)
	if err != nil {
		fail("%v", err)
	}
	before := openHead(data, verifier)
	proof, err := tlog.ProveTree(now.size, before.size, reader)
	if err != nil {
		fail("ProveTree: %v", err)
	}
	if err := tlog.CheckTree(proof, now.size, now.root, before.size, before.root); err != nil {
		fail("CheckTree: %v", err)
	}
	fmt.Printf("ok %d entries extend %d\n", now.size, before.size)
	for _, path := range os.Args[4:] {
		checkProof(path, verifier, reader, now)
	}
}

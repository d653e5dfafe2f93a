// Transparency logs with filippo.io/torchwood, a tlog-tiles client and witness library that is not ours.
//
//	tiles_go read KEY DIR PROOF...    opens a directory that GVM exported, reads every entry through the
//	                                  library's client (which authenticates each against the head), and checks
//	                                  each PROOF with PROOF.entry beside it
//	tiles_go fetch KEY URL            the same out of what GVM serves over HTTP
//	tiles_go make DIR SIZE OLD        makes a log of its own for GVM to verify: DIR/log (checkpoint, tiles, entry
//	                                  bundles), DIR/old (an older head), DIR/extends, DIR/proof-N and .entry; the
//	                                  heads are cosigned. Prints the keys: log, witness, another witness.
package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
}

func write(path string, data []byte) {
	must(os.MkdirAll(filepath.Dir(path), 0o755))
	must(os.WriteFile(path, data, 0o644))
}

// ---- read ----

func read(key, dir string, proofs []string) {
	verifier, err := note.NewVerifier(key)
	must(err)
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()),
		torchwood.SingleVerifierPolicy(verifier))
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	must(err)
	head, _, err := torchwood.VerifyCheckpoint(signed, policy)
	must(err)
	files, err := torchwood.NewTileFS(os.DirFS(dir))
	must(err)
	readAll(files, head)
	for _, path := range proofs {
		proof, err := os.ReadFile(path)
		must(err)
		entry, err := os.ReadFile(path + ".entry")
		must(err)
		must(torchwood.VerifyProof(policy, tlog.RecordHash(entry), proof))
		if torchwood.VerifyProof(policy, tlog.RecordHash([]byte("{}")), proof) == nil {
			must(fmt.Errorf("%s holds for another entry", path))
		}
		fmt.Println("ok proof")
	}
}

func fetch(key, url string) {
	verifier, err := note.NewVerifier(key)
	must(err)
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()),
		torchwood.SingleVerifierPolicy(verifier))
	answer, err := http.Get(url + "/checkpoint")
	must(err)
	signed, err := io.ReadAll(answer.Body)
	must(err)
	must(answer.Body.Close())
	head, _, err := torchwood.VerifyCheckpoint(signed, policy)
	must(err)
	files, err := torchwood.NewTileFetcher(url)
	must(err)
	readAll(files, head)
}

// Every entry, each authenticated against the head by the library's client.
func readAll(files torchwood.TileReader, head torchwood.Checkpoint) {
	client, err := torchwood.NewClient(files)
	must(err)
	var count, size int
	for _, entry := range client.AllEntries(context.Background(), head.Tree, 0) {
		if bytes.Contains(entry, []byte(`,"salt":"`)) {
			must(fmt.Errorf("entry %d has its private members", count))
		}
		count++
		size += len(entry)
	}
	must(client.Err())
	if int64(count) != head.N {
		must(fmt.Errorf("%d entries, head of %d", count, head.N))
	}
	fmt.Printf("ok %d entries, %d bytes, signed by %s\n", count, size, head.Origin)
}

// ---- make ----

type hashes []tlog.Hash

func (h hashes) ReadHashes(at []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range at {
		out = append(out, h[i])
	}
	return out, nil
}

// Entries of every kind: text, bytes, nothing, and one that looks like a line of ours with private members.
func entry(i int64) []byte {
	switch i % 4 {
	case 0:
		return []byte(fmt.Sprintf(`{"v":1,"n":%d}`, i))
	case 1:
		return []byte{0, '\n', 0xff, byte(i)}
	case 2:
		return []byte(`{"v":2,"private":"` + strings.Repeat("A", 44) + `","salt":"` + strings.Repeat("B", 24) + `"}`)
	}
	return nil
}

type maker struct {
	signers []note.Signer
	origin  string
	stored  hashes
}

func (m *maker) checkpoint(size int64) []byte {
	root, err := tlog.TreeHash(size, m.stored)
	must(err)
	text := torchwood.Checkpoint{Origin: m.origin, Tree: tlog.Tree{N: size, Hash: root}}.String()
	signed, err := note.Sign(&note.Note{Text: text}, m.signers...)
	must(err)
	return signed
}

func newWitness(name string) *torchwood.CosignatureSigner {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	signer, err := torchwood.NewCosignatureSigner(name, key)
	must(err)
	return signer
}

func (m *maker) tiles(dir string, size int64) {
	for _, tile := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		data, err := tlog.ReadTileData(tile, m.stored)
		must(err)
		write(filepath.Join(dir, torchwood.TilePath(tile)), data)
	}
	for first := int64(0); first < size; first += torchwood.TileWidth {
		width := min(size-first, torchwood.TileWidth)
		var data []byte
		for i := first; i < first+width; i++ {
			var err error
			data, err = torchwood.AppendTileEntry(data, entry(i))
			must(err)
		}
		write(filepath.Join(dir, torchwood.TilePath(tlog.Tile{
			H: torchwood.TileHeight, L: -1, N: first / torchwood.TileWidth, W: int(width)})), data)
	}
}

func extension(old int64, proof tlog.TreeProof, checkpoint []byte) []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintf(&out, "%s\n", h)
	}
	return append([]byte(out.String()+"\n"), checkpoint...)
}

func makeLog(dir string, size, old int64) {
	secret, key, err := note.GenerateKey(rand.Reader, "other.example/log")
	must(err)
	signer, err := note.NewSigner(secret)
	must(err)
	witness, stranger := newWitness("witness.example"), newWitness("stranger.example")
	m := &maker{signers: []note.Signer{signer, witness}, origin: "other.example/log"}
	for i := int64(0); i < size; i++ {
		add, err := tlog.StoredHashes(i, entry(i), m.stored)
		must(err)
		m.stored = append(m.stored, add...)
	}
	head := m.checkpoint(size)
	m.tiles(filepath.Join(dir, "log"), size)
	write(filepath.Join(dir, "log", "checkpoint"), head)
	write(filepath.Join(dir, "old"), m.checkpoint(old))
	proof, err := tlog.ProveTree(size, old, m.stored)
	must(err)
	write(filepath.Join(dir, "extends"), extension(old, proof, head))
	for _, i := range []int64{0, 1, 2, 3, old, size - 1} {
		proof, err := tlog.ProveRecord(size, i, m.stored)
		must(err)
		name := filepath.Join(dir, fmt.Sprintf("proof-%d", i))
		write(name, torchwood.FormatProof(i, proof, head))
		write(name+".entry", entry(i))
	}
	write(filepath.Join(dir, "proof-extra"), torchwood.FormatProofWithExtraData(0, []byte("anything"),
		func() tlog.RecordProof { p, err := tlog.ProveRecord(size, 0, m.stored); must(err); return p }(), head))
	write(filepath.Join(dir, "proof-extra.entry"), entry(0))
	fmt.Printf("%s\n%s\n%s\n", key, witness.Verifier(), stranger.Verifier())
}

func main() {
	if os.Args[1] == "fetch" {
		fetch(os.Args[2], os.Args[3])
		return
	}
	if os.Args[1] == "read" {
		read(os.Args[2], os.Args[3], os.Args[4:])
		return
	}
	size, err := strconv.ParseInt(os.Args[3], 10, 64)
	must(err)
	old, err := strconv.ParseInt(os.Args[4], 10, 64)
	must(err)
	makeLog(os.Args[2], size, old)
}

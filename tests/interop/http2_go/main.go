// Go's HTTP/2, from the standard library alone.
//
//	main server CERT KEY         an echo server that agrees on h2 and nothing else; prints its port
//	main get PROXY CA URL...     fetches each URL by a client as anybody writes it; prints protocol and status
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func server(cert, key string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Proto", r.Proto)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	s := &http.Server{TLSConfig: config.Clone()}
	check(s.Serve(tls.NewListener(listener, config)))
}

func get(proxy, ca string, urls []string) {
	pem, err := os.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	via, err := url.Parse(proxy)
	check(err)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: pool}}}
	var wait sync.WaitGroup
	lines := make([]string, len(urls))
	for i, u := range urls {
		wait.Add(1)
		go func(i int, u string) {
			defer wait.Done()
			answer, err := client.Post(u, "text/plain", strings.NewReader(strings.Repeat("x", 100000)))
			if err != nil {
				lines[i] = err.Error()
				return
			}
			body, err := io.ReadAll(answer.Body)
			lines[i] = fmt.Sprint(answer.Proto, " ", answer.StatusCode, " ", len(body), " ", err)
		}(i, u)
	}
	wait.Wait()
	fmt.Println(strings.Join(lines, "\n"))
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "server" {
		server(os.Args[2], os.Args[3])
	} else if len(os.Args) > 4 && os.Args[1] == "get" {
		get(os.Args[2], os.Args[3], os.Args[4:])
	}
}

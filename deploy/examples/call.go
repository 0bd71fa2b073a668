// One call with Go's own HTTP client: go run call.go. No signing library, no key.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

// answer is what Tencent's answers, and the gateway's own refusals, have in common.
type answer struct {
	ActionStatus string
	ErrorCode    int
	ErrorInfo    string
	RequestID    string `json:"RequestId"`
}

var client = http.Client{Timeout: 25 * time.Second}

func call(api string, body any) (answer, error) {
	var got answer
	encoded, err := json.Marshal(body)
	if err != nil {
		return got, err
	}
	request, err := http.NewRequest(http.MethodPost, gateway()+"/v4/"+api, bytes.NewReader(encoded))
	if err != nil {
		return got, err
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-caller", "example-go")
	response, err := client.Do(request)
	if err != nil {
		return got, err
	}
	defer response.Body.Close()
	return got, json.NewDecoder(response.Body).Decode(&got)
}

func gateway() string {
	if address := os.Getenv("TENCENT_API"); address != "" {
		return address
	}
	return "http://127.0.0.1:8080"
}

func main() {
	got, err := call("live_config/get_callback", struct{}{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%+v\n", got)
	if got.ErrorCode != 0 {
		os.Exit(1)
	}
}

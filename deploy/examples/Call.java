import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** One call with Java's own HTTP client (11 or newer): java Call.java. No signing library, no key. */
class Call {
    private static final String GATEWAY = System.getenv().getOrDefault("TENCENT_API", "http://127.0.0.1:8080");
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();

    public static void main(String[] args) throws Exception {
        HttpResponse<String> answer = call("live_config/get_callback", "{}");
        System.out.println(answer.body());
        // 0 is success, whatever the HTTP status says; the body has it too, for whoever parses it anyway.
        String errorCode = answer.headers().firstValue("x-tencent-error-code").orElse("none");
        System.exit(errorCode.equals("0") ? 0 : 1);
    }

    static HttpResponse<String> call(String api, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(GATEWAY + "/v4/" + api))
                .header("content-type", "application/json")
                .header("x-caller", "example-java")
                .timeout(Duration.ofSeconds(25))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        return CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
    }
}

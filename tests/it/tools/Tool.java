// Tool.java BASE BODY JOB...
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.util.Arrays;

public class Tool {
    public static void main(String[] args) throws Exception {
        var users = args[0] + "/t/vbc.prod/provisioning/api/accounts/self/users";
        var calls = args[0] + "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";
        var call = "{\"type\":\"click2dial\",\"from\":{\"destination\":\"1001\"},\"to\":{\"destination\":\"15550100\"}}";
        // With its defaults it requests an upgrade to h2c.
        var client = HttpClient.newHttpClient();
        for (var job : Arrays.copyOfRange(args, 2, args.length)) {
            var request = switch (job) {
                case "list" -> HttpRequest.newBuilder(URI.create(users + "?page_size=3&a=%2F"));
                case "call" -> HttpRequest.newBuilder(URI.create(calls))
                        .header("Content-Type", "application/json")
                        .POST(BodyPublishers.ofString(call));
                case "upload" -> HttpRequest.newBuilder(URI.create(calls))
                        .header("Content-Type", "application/json")
                        .POST(BodyPublishers.ofFile(Path.of(args[1])));
                default -> HttpRequest.newBuilder(URI.create(users + "/999999"));
            };
            var response = client.send(request.build(), BodyHandlers.ofString());
            System.out.println(job + " " + response.statusCode() + " " + response.body());
        }
    }
}

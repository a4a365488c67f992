// The parts of Android and of Gradle that the project uses, to compile it against.

@file:Suppress("UNUSED_PARAMETER")

package stubs

open class Repositories {
    fun google() {}
    fun mavenCentral() {}
    fun gradlePluginPortal() {}
}
class PluginManagement { fun repositories(block: Repositories.() -> Unit) {} }
enum class RepositoriesMode { FAIL_ON_PROJECT_REPOS }
class Resolution {
    var repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    fun repositories(block: Repositories.() -> Unit) {}
}
class Root { var name = "" }
val rootProject = Root()
fun pluginManagement(block: PluginManagement.() -> Unit) {}
fun dependencyResolutionManagement(block: Resolution.() -> Unit) {}
fun include(vararg projects: String) {}

class Plugin {
    infix fun version(version: String) = this
    infix fun apply(apply: Boolean) = this
}
class Plugins { fun id(id: String) = Plugin() }
fun plugins(block: Plugins.() -> Unit) {}

class Value(val text: String) { fun orElse(other: String) = this }
class Providers { fun gradleProperty(name: String) = Value(name) }
val providers = Providers()

enum class JavaVersion { VERSION_17 }
class Signing
class SigningConfigs { fun getByName(name: String) = Signing() }
class BuildType {
    var isMinifyEnabled = false
    var signingConfig: Signing? = null
    fun proguardFiles(vararg files: String) {}
}
class BuildTypes { fun release(block: BuildType.() -> Unit) {} }
class DefaultConfig {
    var applicationId = ""
    var minSdk = 0
    var targetSdk = 0
    var versionCode = 0
    var versionName = ""
    fun consumerProguardFiles(vararg files: String) {}
}
class CompileOptions {
    var sourceCompatibility = JavaVersion.VERSION_17
    var targetCompatibility = JavaVersion.VERSION_17
}
class AndroidResources { val noCompress = mutableListOf<String>() }
class Android {
    var namespace = ""
    var compileSdk = 0
    val signingConfigs = SigningConfigs()
    fun defaultConfig(block: DefaultConfig.() -> Unit) {}
    fun compileOptions(block: CompileOptions.() -> Unit) {}
    fun buildTypes(block: BuildTypes.() -> Unit) {}
    fun androidResources(block: AndroidResources.() -> Unit) {}
    fun getDefaultProguardFile(name: String) = name
}
fun android(block: Android.() -> Unit) {}
class KotlinOptions {
    fun explicitApi() {}
    fun jvmToolchain(version: Int) {}
}
fun kotlin(block: KotlinOptions.() -> Unit) {}
class Dependencies {
    fun api(what: Any) {}
    fun implementation(what: Any) {}
    fun project(path: String): Any = path
}
fun dependencies(block: Dependencies.() -> Unit) {}
class Folder(val path: String) { val asFile get() = java.io.File(path) }
class Folders { fun dir(path: String) = Folder(path) }
class Layout { val projectDirectory = Folders() }
val layout = Layout()
class Exec {
    fun workingDir(folder: Any) {}
    fun commandLine(vararg arguments: String) {}
}
class Tasks { fun <T> register(name: String, block: Exec.() -> Unit) {} }
val tasks = Tasks()
